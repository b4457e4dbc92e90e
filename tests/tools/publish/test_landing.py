"""The moving picture of the landing page."""

from tools.publish import landing


def test_the_moving_picture_shows_what_its_caption_says():
    plain, syre = (landing.simulate(sigma) for sigma in landing.ARMS.values())
    assert (plain[0] - syre[0]).abs().max() == 0, "both start alike"
    assert (plain[-1].prod(1) - 1).abs().min() > 0.9, "every network under decay is still stuck"
    assert (syre[-1].prod(1) - 1).abs().max() < 0.5, "every network under syre has left"
