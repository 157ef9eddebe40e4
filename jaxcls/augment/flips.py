"""Mirrored pictures."""

from jaxcls.augment.base import check_probability, chosen, of_pictures, select


def flip(p=0.5):
    """Mirrors left and right with probability p."""
    p = check_probability(p)
    return of_pictures(lambda keys, image: select(chosen(keys, p), image[:, :, ::-1], image))


OPERATIONS = {"flip": flip}
