"""How far an input may be moved before its class changes: attacked, estimated, certified.

Norms are those of the change of one input, in the units of the input: for images, pixel values in
[0, 1], so that 8/255 is eight steps of a byte in every pixel (linf), and l2 is the root of the sum
over all pixels and channels.
"""
