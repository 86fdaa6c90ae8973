import subprocess
import sys


def test_the_network_library_imports_after_it():
    code = "import models.torchvision_ops, segmentation_models_pytorch, torchvision.transforms.v2"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_can_be_imported_after_torchvision_too():
    code = (
        "import models.torchvision_ops, torchvision;"
        "from models.torchvision_ops import declare_missing_operators as again;"
        "assert again() is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
