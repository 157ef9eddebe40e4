"""Pictures and labels: where they come from, how they are split, decoded and fed.

`sources` opens a set by its name (`digits`, `tfds/<name>`, `folder/<path>`, `unlabelled/<path>`, `synthetic`);
`folder`, `unlabelled` and `tfds_source` read the kinds of large sets, `splits` divides one by class, `decode` turns
encoded bytes into arrays and finds unreadable pictures. Nothing here imports TensorFlow.
"""
