"""Puts the files that a new catalog starts from into the wheel; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FILES = ("dvc.yaml", "params.yaml", "prefect.yaml", ".gitignore", ".gitattributes", ".dvcignore", "data/.gitignore")
FOLDERS = ("data/base", "data/images", "data/remote")
NOT_THE_STUDY = shutil.ignore_patterns("emoji-clip-early")
NOT_PICTURES = shutil.ignore_patterns("*.png", "*.jpg", "*.jpeg", "*.webp")  # a checkout may have pictures; the wheel has them once, in data/remote


class BuildWithCatalog(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # an editable install uses the checkout's files
        root, shipped = Path(__file__).parent, Path(self.build_lib, "tasks", "shipped")
        for file in FILES:
            (shipped / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / file, shipped / file)
        ignored = {"data/images": NOT_PICTURES, "data/base": NOT_THE_STUDY}
        for folder in FOLDERS:
            shutil.copytree(root / folder, shipped / folder, dirs_exist_ok=True, ignore=ignored.get(folder))


setup(cmdclass={"build_py": BuildWithCatalog})
