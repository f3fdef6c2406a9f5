"""Colours of pictures: those of Okabe and Ito, which the colour-blind can tell apart."""

BLUE, ORANGE, GREEN, PINK, GREY, SKY, RED = "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#777777", "#56b4e9", "#d55e00"
