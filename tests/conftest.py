# SPDX-License-Identifier: Apache-2.0
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("default", deadline=None)
settings.load_profile("default")
