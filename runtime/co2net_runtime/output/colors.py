"""Colors that readers with any color vision tell apart (Okabe and Ito)."""

BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
PURPLE, ORANGE, SKY = "#cc79a7", "#e69f00", "#56b4e9"
OKABE_ITO = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
