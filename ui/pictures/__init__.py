"""What the cards show before anybody has pressed anything: their own example, painted once.

`python -m ui.pictures` paints them anew with the embedded model: `<card>.json` is the board of a card, and
`<card>-before.png`, `<card>-after.png` are its pictures on the home page.
"""
