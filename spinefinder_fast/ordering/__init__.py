# SPDX-License-Identifier: Apache-2.0
"""The order of the vertebrae: bodies along the spine, and their names all together."""
