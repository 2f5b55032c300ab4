"""What the machine is, and what it says of itself while measuring."""
