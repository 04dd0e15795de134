"""Rules of a generator: one convolution as a memory of what to paint where, and a line of it written anew.

After "Rewriting a Deep Generative Model" (Bau et al., ECCV 2020). Keys are a layer's modulated input features at each
place (3 x 3 places unfolded), values its outputs before noise and activation.
"""
