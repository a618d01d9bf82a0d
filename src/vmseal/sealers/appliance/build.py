"""Building the appliance's first root file system: the interpreter that runs here, ``vmseal.seal``, and what they need.

Everything is taken from the host, so the appliance is as new as the host's packages, and nothing is downloaded.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import marshal
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmseal import process
from vmseal.sealers.appliance import modules as kernel_modules
from vmseal.sealers.appliance.cpio import Archive
from vmseal.sealers.appliance.modules import Modules
from vmseal.sealers.appliance.recipe import PACKAGE, PATH, PROGRAMS, SEAL, Recipe, inside
from vmseal.sealers.sealer import ApplianceFailed, ProgramMissing

INIT = Path(__file__).with_name("init.py")
INSIDE = "/vmseal"  # folder of everything of ours inside; init.py and vmseal.seal.kernel know it too
# Nothing imports these by name: codecs are found by their name in a call.
CODECS = ("ascii", "latin_1", "utf_8", "utf_16", "utf_16_le", "raw_unicode_escape", "unicode_escape", "idna")
IMPORT_ALL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
for name, module in sorted(sys.modules.items()):
    if name != "__main__" and getattr(module, "__file__", None):
        print(name, module.__file__, sep="\\t")
"""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What is in an appliance, for who asks; size in bytes."""

    kernel: str
    interpreter: str
    modules: list[str]  # names of kernel modules, built-in ones too
    programs: list[str]
    missing: list[str]  # programs that the host does not have
    size: int


async def build(recipe: Recipe, folder: Path) -> tuple[bytes, Built]:
    """Return the archive, and what is in it. ``folder`` is empty, for what lies about meanwhile.

    Raises:
        ApplianceFailed: the library cannot be imported, or a library of a program is missing.
        ProgramMissing: a program that is needed to build is not installed.

    """
    python = await _closure(recipe.interpreter)
    shared = [file for file in python if file.suffix == ".so"]
    libraries = await _libraries([recipe.interpreter, *recipe.programs, *shared])
    modules = kernel_modules.find_modules(recipe.kernel)
    await kernel_modules.unpack(modules, folder)
    binaries = [recipe.interpreter, *recipe.programs, *shared, *libraries]
    code = [file for file in python if file.suffix == ".py"]
    data = await asyncio.to_thread(_pack, binaries, code, modules, folder)
    return data, _describe(recipe, modules, len(data))


def _pack(binaries: Sequence[Path], code: Sequence[Path], modules: Modules, unpacked: Path) -> bytes:
    archive = Archive()
    for folder in ("/proc", "/sys", "/dev", "/run", "/tmp", "/etc"):  # noqa: S108  inside
        archive.add_folder(folder)
    archive.add_character_device("/dev/console", 5, 1)
    for file in binaries:
        archive.add_file(str(file), file.read_bytes(), executable=True)
    _add_python(archive, code)
    _add_modules(archive, modules, unpacked)
    return archive.as_bytes()


def _describe(recipe: Recipe, modules: Modules, size: int) -> Built:
    names = [program.name for program in recipe.programs]
    return Built(
        kernel=str(recipe.kernel.file),
        interpreter=str(recipe.interpreter),
        modules=list(modules.order),
        programs=names,
        missing=[name for name in PROGRAMS if name not in names],
        size=size,
    )


def _add_python(archive: Archive, code: Sequence[Path]) -> None:
    for file in code:
        if not file.is_relative_to(PACKAGE):
            archive.add_file(str(file.with_suffix(".pyc")), _compiled(file))
    for file in (PACKAGE / "__init__.py", *inside()):
        name = f"{INSIDE}/lib/vmseal/{file.relative_to(PACKAGE)}"
        is_code = file.suffix == ".py"
        archive.add_file(f"{name}c" if is_code else name, _compiled(file) if is_code else file.read_bytes())
    archive.add_file(f"{INSIDE}/init.pyc", _compiled(INIT))


async def _closure(interpreter: Path) -> list[Path]:
    """Return the files of all Python modules that are loaded once everything that can run inside is imported."""
    files: list[Path] = []
    names = [*sorted(_imports([INIT, *SEAL.rglob("*.py")])), *(f"encodings.{name}" for name in CODECS)]
    command = [str(interpreter), "-I", "-S", "-c", IMPORT_ALL, str(PACKAGE.parent), *names]
    finished = await process.run(
        command, reason="find modules", on_line=lambda line: files.extend(_file_of_line(line)), env={"PATH": PATH}
    )
    if finished.returncode != 0:
        raise ApplianceFailed(f"vmseal.seal cannot be imported with {interpreter}: {finished.last_lines(3)}")
    return list(dict.fromkeys(files))


def _file_of_line(line: str) -> Iterator[Path]:
    _, tab, file = line.partition("\t")
    if tab:
        yield Path(file)


def _imports(files: Iterable[Path]) -> set[str]:
    """Return what the files import anywhere, in functions too, and the modules of the library themselves."""
    names = set()
    for file in files:
        if file.is_relative_to(SEAL):
            parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
            names.add(".".join(parts).removesuffix(".__init__"))
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    return names


def _compiled(file: Path) -> bytes:
    """Return the module as importlib loads it without its source; see importlib._bootstrap_external._classify_pyc."""
    status = file.stat()
    stamp = (int(status.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + (status.st_size & 0xFFFFFFFF).to_bytes(
        4, "little"
    )
    header = importlib.util.MAGIC_NUMBER + bytes(4) + stamp
    cached = Path(importlib.util.cache_from_source(str(file)))
    if not file.is_relative_to(PACKAGE) and cached.exists() and cached.read_bytes()[: len(header)] == header:
        return cached.read_bytes()  # compiling the standard library again takes seconds
    name = f"{INSIDE}/{file.name}"
    return header + marshal.dumps(compile(file.read_bytes(), name, "exec", dont_inherit=True))


async def _libraries(binaries: Sequence[Path]) -> list[Path]:
    """Return the shared libraries that programs and modules need, by the names under which the loader opens them."""
    try:
        finished = await process.run(["ldd", *map(str, binaries)], reason="find libraries", env={"PATH": PATH})
    except FileNotFoundError as error:
        raise ProgramMissing(f"{error} (Debian: libc-bin)") from error
    if missing := re.search(r"(\S+) => not found", finished.output):
        raise ApplianceFailed(f"the library {missing[1]} is not installed, and a program of the appliance needs it")
    found = [Path(name) for name in re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", finished.output, re.MULTILINE)]
    return list(dict.fromkeys([*found, *_opened_late(found)]))


def _opened_late(libraries: Sequence[Path]) -> list[Path]:
    """Return what glibc opens by itself when a thread ends, as those of cryptsetup do."""
    beside = {library.with_name("libgcc_s.so.1") for library in libraries}
    return sorted(library for library in beside if library.exists())


def _add_modules(archive: Archive, modules: Modules, unpacked: Path) -> None:
    index = {name: [_inside(file) for file in files] for name, files in modules.order.items()}
    for file in modules.files():
        archive.add_file(_inside(file), kernel_modules.read_module(modules.folder / file, unpacked))
    archive.add_file(f"{INSIDE}/modules.json", json.dumps(index).encode())
    archive.add_file(f"{INSIDE}/early.json", json.dumps([*kernel_modules.ALWAYS, *kernel_modules.EARLY]).encode())


def _inside(file: str) -> str:
    return f"{INSIDE}/modules/{kernel_modules.MODULE.sub('.ko', Path(file).name)}"
