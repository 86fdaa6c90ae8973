from dataclasses import replace

import pytest
import torch
from torch import nn

from models.checkpoint import NetworkSpec, Role, build_network, save_checkpoint
from training import complexity
from training.complexity import PUBLISHED
from training.judging.complexity import count, count_spec
from training.learning import presets

# Counted once, independently, with hooks on every layer: G multiply-adds in all,
# and of the encoder where that was noted.
COUNTED = {
    "lungs-unet": (35.3, None),
    "lungs-unetplusplus": (12.95, 1.61),
    "lungs-deeplabv3": (25.49, 12.34),
    "lungs-deeplabv3plus": (7.93, 5.84),
    "lungs-fpn": (11.15, 2.15),
    "lungs-linknet": (33.3, None),
    "lungs-pspnet": (14.4, None),
    "lungs-pan": (3.77, 3.56),
    "lungs-manet": (13.00, 3.30),
    "opacity-unet": (99.2, None),
    "opacity-unetplusplus": (54.4, None),
    "opacity-deeplabv3": (33.74, 21.36),
    "opacity-deeplabv3plus": (20.1, None),
    "opacity-fpn": (5.55, 1.07),
    "opacity-linknet": (1.43, 1.26),
    "opacity-pspnet": (0.63, 0.52),
    "opacity-pan": (22.3, None),
    "opacity-manet": (79.5, None),
}
SMALL = NetworkSpec(
    role=Role.LUNGS,
    architecture="unet",
    encoder="resnet18",
    input_shape=(32, 64),
    options={"encoder_depth": 3, "decoder_channels": [8, 8, 8]},
)


class Everything(nn.Module):
    """One layer of each kind that counts, and some that do not."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1)
        self.linear = nn.Linear(4, 5)

    def forward(self, batch):
        features = self.norm(self.grouped(self.encoder(batch))).relu()
        keys = features.flatten(2)
        attention = keys.transpose(1, 2) @ keys
        answer = self.linear(self.up(features).mean((2, 3)))
        return answer + attention.mean()


def test_every_kind_of_layer():
    found = count(Everything(), (16, 8), 3)
    pixels = 8 * 4
    encoder = pixels * 8 * 3 * 9
    grouped = pixels * 8 * 2 * 9
    transposed = pixels * 8 * 4 * 16  # each input pixel is written through the whole kernel
    attention = pixels * pixels * 8
    assert found.multiply_adds == encoder + grouped + transposed + attention + 4 * 5
    assert found.encoder_multiply_adds == encoder
    assert found.decoder_multiply_adds == found.multiply_adds - encoder
    assert found.parameters == 216 + (144 + 8) + 16 + (512 + 4) + 25


@pytest.mark.parametrize("name", presets.PAPER)
def test_the_papers_networks(name):
    found = count_spec(presets.read(name).spec)
    total, encoder = COUNTED[name]
    assert found.multiply_adds / 1e9 == pytest.approx(total, rel=0.01)
    if encoder is not None:
        assert found.encoder_multiply_adds / 1e9 == pytest.approx(encoder, abs=0.011)
    # The library builds only the three stages of the encoder that PSPNet uses; the paper's kept all of them.
    published = 3.4 if name == "lungs-pspnet" else PUBLISHED[name][0]
    assert found.parameters / 1e6 == pytest.approx(published, abs=0.051)


def test_the_papers_counter_left_out_efficientnet():
    for name in ("lungs-deeplabv3plus", "opacity-fpn", "opacity-pspnet"):
        found = count_spec(presets.read(name).spec)
        assert found.decoder_multiply_adds / 1e9 == pytest.approx(PUBLISHED[name][1], abs=0.12)


def test_weights_modes_and_device_do_not_matter():
    network = build_network(SMALL).train()
    network.encoder.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = count(network, SMALL.input_shape, 1)
    assert found == count_spec(SMALL)
    assert network.training
    assert not network.encoder.training
    assert network.decoder.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_work_grows_with_the_area():
    once = count_spec(SMALL).multiply_adds
    assert count_spec(replace(SMALL, input_shape=(64, 128))).multiply_adds == 4 * once


def test_members_and_mirror_images_count():
    one = count_spec(SMALL)
    three = count_spec(replace(SMALL, members=3))
    assert (three.parameters, three.multiply_adds) == (3 * one.parameters, 3 * one.multiply_adds)
    assert three.encoder_multiply_adds == 3 * one.encoder_multiply_adds > 0
    mirrored = count_spec(replace(SMALL, mirrored=True))
    assert (mirrored.parameters, mirrored.multiply_adds) == (one.parameters, 2 * one.multiply_adds)
    assert mirrored.decoder_multiply_adds == 2 * one.decoder_multiply_adds


def test_command_for_presets(capsys):
    complexity.main(["--preset", "lungs-deeplabv3plus", "opacity-fpn"])
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[1].split()) == "lungs-deeplabv3plus efficientnet-b1 512 7.4 7.4 7.93 5.84 2.09 2.2"
    assert lines[2].split()[0] == "opacity-fpn"


def test_command_for_weights(capsys, tmp_path):
    with torch.device("cpu"):
        for role in Role:
            spec = replace(SMALL, role=role)
            save_checkpoint(build_network(spec), spec, tmp_path)
    complexity.main(["--weights", str(tmp_path)])
    out = capsys.readouterr().out
    both = 2 * count_spec(SMALL).multiply_adds / 1e9
    assert f"{both:.2f} G multiply-adds a film" in out
    (tmp_path / "lungs.json").unlink()
    complexity.main(["--weights", str(tmp_path)])
    assert "together" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "lungs-xnet"], "error: there is no preset 'lungs-xnet'; choose one of lungs-unet"),
        (["--weights", "no-such-folder"], "error: cannot read "),
    ],
)
def test_command_says_what_is_wrong(arguments, message):
    with pytest.raises(SystemExit) as stopped:
        complexity.main(arguments)
    assert str(stopped.value.code).startswith(message)
