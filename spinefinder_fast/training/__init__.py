# SPDX-License-Identifier: Apache-2.0
"""Training both networks from scans and centroids alone."""
