"""params.yaml as frozen, strict, typed models.

Every key is required and an unknown one is an error, so params.yaml is the whole truth about a
run: no default hides here. DVC tracks the values, which is why no stage lists this module as a
dependency.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from pipeline.transforms import AnyTransform

PLAIN = "plain"
ENCODERS = (
    PLAIN,
    "efficientnetlite0",
    "inceptionv3",
    "mobilenet",
    "mobilenetv2",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg16",
    "vgg19",
)
"""The plain encoder, EfficientNet-Lite0, and those backbones of segmentation-models that Keras 3
builds and loads again without their code: the others hold functions, or names that it refuses."""
OWN_ENCODERS = ENCODERS[:2]
"""Those that every engine builds; the backbones of segmentation-models need TensorFlow."""
BACKBONE_DEPTH = 5
"""How often a backbone halves its image."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Headers = list[Annotated[str, Field(min_length=1)]]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """A section of params.yaml."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class StagesParams(Section):
    """How stages are done; changes no result."""

    parts: Annotated[int, Field(ge=1, le=64)]
    """In how many parts a DAG run does those that can be, at once on several hosts; the deployed
    project's count decides whether there are parts at all."""


class ValidateParams(Section):
    """What a dataset must look like to be trained on."""

    min_pairs_per_class: Count
    max_quarantined: Share
    """Largest share of the pairs that may be set aside before the run stops."""
    max_flagged: Share
    """Largest share of a class's pairs that may be flagged as implausible without a warning."""
    max_class_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    """Pairs of the largest class for one of the smallest, above which a warning is given."""
    min_lung_area: Share
    """Smallest plausible share of the mask that is lung."""
    max_lung_area: Share
    max_area_shift: Positive
    """Largest shift of a class's lung area before a warning, robust standard deviations (drift)."""
    max_intensity_shift: Positive
    """The same for the mean grey value."""
    file_columns: Headers
    """Headers that name the radiograph in metadata sheets, better than the usual ones."""
    patient_columns: Headers
    """The same of the patient."""
    study_columns: Headers
    """The same of the study, or whatever else has one patient only."""
    source_columns: Headers
    """The same of the source."""
    convention_columns: Headers
    """The same of the annotation convention."""

    @property
    def columns(self) -> dict[str, list[str]]:
        """The headers by what they say."""
        return {
            "file": self.file_columns,
            "patient": self.patient_columns,
            "study": self.study_columns,
            "source": self.source_columns,
            "convention": self.convention_columns,
        }

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_lung_area >= self.max_lung_area:
            raise ValueError("min_lung_area must be below max_lung_area")
        return self


class SplitParams(Section):
    """Shares of the radiographs, the rest trains; and what keeps radiographs together."""

    val: Share
    test: Share
    near_duplicate_distance: Annotated[int, Field(ge=0, le=396)]
    """Bits of 396 in which the perceptual hashes of one picture may differ."""
    max_source_pairs: Count
    """Radiographs that may share one source before it must be said what it is."""
    max_patient_pairs: Count
    """Radiographs that one patient or study may have before it must be said that it is one."""
    collections: list[Annotated[str, Field(min_length=1)]]
    """Sources of many patients; with * at the end, all that begin so."""

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        if self.val <= 0 or self.test <= 0 or self.val + self.test >= 1:
            raise ValueError("val and test must be above 0 and leave something to train on")
        return self


class AugmentParams(Section):
    """Size of the training images and the random changes of their copies."""

    seed: Seed
    image_size: Annotated[int, Field(ge=32, le=1024)]
    """Side of the square training images, pixels."""
    copies: Annotated[int, Field(ge=0, le=50)]
    """Augmented copies of each training pair, beside the original."""
    fresh: bool
    """Whether training draws the copies, others in every epoch; else they are drawn beforehand."""
    transforms: list[AnyTransform]
    """The random changes of a copy, in this order."""
    workers: Annotated[int, Field(ge=0)]
    """Processes; 0 means one per core, fewer for little work. Does not change the result."""

    @model_validator(mode="after")
    def _changes_its_copies(self) -> Self:
        if self.copies and not self.transforms:
            raise ValueError("copies without transforms are all alike; list some or make no copies")
        if self.fresh and not self.copies:
            raise ValueError("fresh draws copies, and there are none; set copies or fresh: false")
        return self


class TrainParams(Section):
    """The network and its optimisation."""

    engine: Literal["tensorflow", "jax"]
    """What computes the training: Keras' backend, whatever KERAS_BACKEND says."""
    seed: Seed
    deterministic: bool
    """Bit-equal repetition on the same machine, at some cost in speed."""
    encoder: str
    """`plain`, `efficientnetlite0`, or a backbone of segmentation-models by name."""
    encoder_weights: Literal["imagenet"] | None
    filters: Annotated[list[Count], Field(min_length=2, max_length=6)]
    """Filters of the nodes X^{i,·} at depth i (of the decoder when the encoder is a backbone)."""
    deep_supervision: bool
    loss: Literal["binary_crossentropy", "bce_dice"]
    learning_rate: Positive
    schedule: Literal["constant", "cosine"]
    """How the learning rate goes on after the warm-up; a cosine falls to 0 at the last epoch."""
    warmup_epochs: Annotated[int, Field(ge=0)]
    """Epochs over which the learning rate rises from 0."""
    weight_averaging: Annotated[float, Field(ge=0, lt=1)]
    """Share of the former average that every step keeps in the moving average of the weights,
    which validates and is released; 0: the weights themselves."""
    precision: Literal["float32", "mixed"]
    """What the network computes in; `mixed`: bfloat16, or float16 on GPUs without it."""
    xla: bool
    """Compile TensorFlow's training step with XLA, which it does only without `deterministic`."""
    epochs: Annotated[int, Field(ge=1, le=9999)]
    """At most what the names of checkpoints have digits for."""
    patience: Count
    """Epochs without a better validation loss before training stops."""
    batch_size: Count
    """Radiographs of a step, shared among all devices."""

    @property
    def depth(self) -> int:
        """How often the network halves the radiograph."""
        return len(self.filters) - (self.encoder == PLAIN)

    @field_validator("encoder")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in ENCODERS:
            raise ValueError(f"expected one of {', '.join(ENCODERS)}")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError("warmup_epochs must be below epochs")
        if self.engine == "jax" and self.xla:
            raise ValueError("xla: the engine jax always compiles with XLA; set it to false")
        if self.engine == "jax" and self.encoder not in OWN_ENCODERS:
            raise ValueError(
                f"encoder: {self.encoder} is built by TensorFlow alone; with the engine jax choose "
                f"{' or '.join(OWN_ENCODERS)}"
            )
        if self.encoder == PLAIN and self.encoder_weights is not None:
            raise ValueError(
                f"encoder_weights: {self.encoder_weights} are of an encoder, the network {PLAIN} "
                "has none; set them to null or choose an encoder"
            )
        if self.xla and self.deterministic:
            raise ValueError("xla and deterministic exclude each other; set one to false")
        if self.encoder != PLAIN and self.depth > BACKBONE_DEPTH:
            raise ValueError(
                f"filters has {self.depth} depths, the backbone {self.encoder} {BACKBONE_DEPTH}; "
                f"give at most {BACKBONE_DEPTH} filters"
            )
        return self


class EvaluateParams(Section):
    """How probabilities become masks, and on how many radiographs changes are tried."""

    threshold: Annotated[float, Field(gt=0, lt=1)]
    batch_size: Count
    robustness_cases: Annotated[int, Field(ge=0)]
    """Test radiographs, from the classes in turn, that are predicted again in 41 changed forms."""


class ReportParams(Section):
    """What the visual report shows."""

    cases: Count
    """Cases of each kind: worst, median and best."""


class GateParams(Section):
    """What a candidate must reach to be released: bounds of the deployed project."""

    mode: Literal["enforce", "dry_run"]
    """`dry_run` judges and records, and releases nothing."""
    approval: Literal["none", "required"]
    """Whether a person must approve each release."""
    min_accuracy: Share
    min_dice: Share
    min_worst_class_dice: Share
    max_failures: Share
    """Largest share of test radiographs with a Dice below 0.90."""
    max_hd95: Annotated[float, Field(ge=0)]
    """Largest mean distance of the borders, 95th percentile, pixels of the mask."""
    max_ece: Share
    """Largest mean calibration error of the probabilities."""
    max_drop: Share
    """Margin of non-inferiority: largest loss of mean Dice against the champion on the same
    radiographs, overall and in any class."""
    max_drift: Share
    """The same against the best release so far, so that small losses do not add up."""
    min_report_cases: Count
    """Cases whose overlays the visual report must show."""
    min_test_cases_per_class: Count


class Params(Section):
    """All of params.yaml."""

    stages: StagesParams
    validate_: ValidateParams = Field(alias="validate")
    split: SplitParams
    augment: AugmentParams
    train: TrainParams
    evaluate: EvaluateParams
    report: ReportParams
    gate: GateParams

    @model_validator(mode="after")
    def _network_suits_its_images(self) -> Self:
        if problem := size_problem(self.augment.image_size, self.train.depth):
            raise ValueError(problem)
        return self


def size_problem(image_size: int, depth: int) -> str:
    """What is wrong with images of this size for a network that halves them so often, or empty."""
    step = 2**depth
    if not image_size % step:
        return ""
    below = image_size // step * step
    sizes = " or ".join(str(size) for size in (below, below + step) if size)
    return (
        f"augment.image_size: found {image_size}, which cannot be halved {depth} times as "
        f"train.filters asks for; expected a multiple of {step}, set it to {sizes}"
    )
