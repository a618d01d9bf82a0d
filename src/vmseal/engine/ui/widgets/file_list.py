"""A chooser of files on the host, limited to the folders that the administrator allowed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from vmseal.engine.requests import ImportFolder
from vmseal.engine.ui.widgets.cells import size_words

Open = Callable[[str], Awaitable[None]]
Choose = Callable[[str, bool], None]

NOTHING = "There are no files here."
NOTHING_ALLOWED = "No folder may be imported from: set VMSEAL_HOST_IMPORT_FOLDERS on the host and restart its agent."


class FileList(Element, component="file_list.js"):
    """The list. ``opened`` is called with a folder's path, ``chosen`` with a file's and whether it is ticked."""

    def __init__(self, opened: Open, chosen: Choose) -> None:
        super().__init__()
        self._opened = opened
        self._chosen = chosen
        self._props.update(path="", parent=None, entries=[], chosen=[], more=0, empty="")
        self.on("folder", self._on_folder)
        self.on("file", self._on_file)

    def show(self, folder: ImportFolder) -> None:
        """Show a folder."""
        entries = [
            {"name": one.name.rstrip("/"), "path": one.path, "folder": one.is_folder, "size": size_words(one.size)}
            for one in folder.entries
        ]
        empty = NOTHING if folder.path else NOTHING_ALLOWED
        self._props.update(path=folder.path, parent=folder.parent, entries=entries, more=folder.more, empty=empty)
        self.update()

    def tick(self, paths: list[str]) -> None:
        """Show these files as chosen."""
        if self._props["chosen"] != paths:
            self._props["chosen"] = list(paths)

    async def _on_folder(self, event: GenericEventArguments) -> None:
        if isinstance(event.args, str):
            await self._opened(event.args)

    def _on_file(self, event: GenericEventArguments) -> None:
        given = event.args if isinstance(event.args, dict) else {}
        if isinstance(given.get("path"), str):
            self._chosen(given["path"], given.get("chosen") is True)
