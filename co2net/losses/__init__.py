"""The losses (method, section 2).

co2   the loss of CO2-Net: its terms and their weighted sum
"""
