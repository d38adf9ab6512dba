# SPDX-License-Identifier: Apache-2.0
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("default", deadline=None)
settings.register_profile("few", deadline=None, max_examples=5)  # under tools that slow everything down
settings.load_profile("default")
