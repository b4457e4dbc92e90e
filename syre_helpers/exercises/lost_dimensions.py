"""The exercises of the chapter "Lost dimensions: trained as a smaller model"."""

from ._declare import Choice, Function, Number, normal

_UNIT, _OUTPUTS = 20 + 1 + 5, 5  # what a unit owns; the biases of the outputs
_W, _A = normal(2, 3)

check_lost_dimensions_count = Number(
    what="The number of parameters",
    right=10 * _UNIT + _OUTPUTS,
    praise="A network with 10 hidden units has just as many.",
    mistakes={
        "Those are all of its parameters; of three twins count one.": 30 * _UNIT + _OUTPUTS,
        "The biases of the outputs are trained too, and belong to no unit.": 10 * _UNIT,
        "That is how many dimensions are lost; the question is what is left.": 20 * _UNIT,
        "Three units to a group: there are ten groups, not three.": (
            27 * _UNIT + _OUTPUTS,
            3 * _UNIT + _OUTPUTS,
        ),
        "In a group of three two copies are lost, not one.": 20 * _UNIT + _OUTPUTS,
        "A hidden unit has a bias of its own.": 10 * 25 + _OUTPUTS,
        "A unit owns its outgoing weights too.": 10 * 21 + _OUTPUTS,
        "That is the number of different units; each owns several numbers.": 10,
    },
)

check_lost_dimensions_optimizers = Choice(
    what="The optimizers",
    right="ad",
    praise="What counts is not that coordinates are treated one by one, as SGD does too: Adam and "
    "the sign are nonlinear in each coordinate.",
    messages={
        "a": "Sums and multiples of vectors in the plane lie in it: one more rule stays.",
        "b": "Adam divides each coordinate by its own size, which turns the step out of the plane.",
        "c": "The sign forgets the size of each coordinate, which turns the step out of the plane.",
        "d": "One number for the whole vector does not turn it: one more rule stays.",
    },
)

# (phi_w, phi_a), which is trained, and (incoming, outgoing), with which the unit computes.
check_lost_dimensions_smaller_unit = Function(
    what="Your pair of pairs",
    right=lambda w, a, k: ((k**0.5 * w, k**0.5 * a), (w, k * a)),
    cases={"three twins": (_W, _A, 3), "eight twins": (_W, _A, 8), "a unit alone": (_W, _A, 1)},
    praise="merge_units in the library does this.",
    mistakes={
        "That unit computes the right thing, "
        "but SGD would run k times faster on it.": lambda w, a, k: ((w, k * a), (w, k * a)),
        "That is the tied form, which needs its gradient divided by k.": lambda w, a, k: (
            (w, a),
            (w, k * a),
        ),
        "That is one twin alone; the unit must do the work of all k.": lambda w, a, k: (
            (w, a),
            (w, a),
        ),
        "The trained pair is right, but the unit must do the work of all "
        "k twins.": lambda w, a, k: ((k**0.5 * w, k**0.5 * a), (w, a)),
        "The trained pair is right, but the unit does not compute with it "
        "directly.": lambda w, a, k: ((k**0.5 * w, k**0.5 * a), (k**0.5 * w, k**0.5 * a)),
        "When k twins move by one each, the network moves by the root of k, "
        "not by k.": lambda w, a, k: ((k * w, k * a), (w, k * a)),
        "The two pairs have changed places: what is trained comes first.": lambda w, a, k: (
            (w, k * a),
            (k**0.5 * w, k**0.5 * a),
        ),
    },
)
