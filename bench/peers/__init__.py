# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The parts of bench/peers.py: cells, inputs, reference, providers, timing, report."""
