"""Import: disk images on the host become a virtual machine."""

from __future__ import annotations

from pathlib import PurePosixPath

from nicegui.element import Element

from vmseal.engine.queries import choices
from vmseal.engine.requests import ImportedImage, ImportVmRequest, Named, Refusal
from vmseal.engine.ui.dialogs.refusals import Errors, plain
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.cells import size_words
from vmseal.engine.ui.widgets.field import Field
from vmseal.engine.ui.widgets.file_list import FileList
from vmseal.engine.ui.widgets.modal import Modal
from vmseal.engine.ui.widgets.simple import Button, Text

OS_TYPES = {
    "other_linux": "Linux",
    "debian_12": "Debian 12",
    "rhel_9x64": "Red Hat Enterprise Linux 9",
    "ubuntu_22_04": "Ubuntu 22.04",
    "windows_2022": "Windows Server 2022",
    "windows_11": "Windows 11",
    "other": "Other",
}


async def open_import(visit: Visit) -> None:
    """Open the dialog."""
    dialog = ImportVm(visit)
    dialog.show(await visit.live.read(choices.domain_choices))
    await dialog.open_folder("")


class ImportVm:
    """The dialog."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    def show(self, domains: tuple[choices.DomainChoice, ...]) -> None:
        """Build it, open."""
        with Modal("Import a virtual machine", wide=True) as self._modal:
            self._images = Field(
                "Disk images",
                kind="textarea",
                required=True,
                focused=True,
                hint="Paths on the host, one a line, the disk to boot from first. The files stay as they are.",
                changed=self._images_changed,
            )
            self._files = FileList(self.open_folder, self._choose)
            self._files_error = Text("p", classes="vs-error", role="alert")
            self._name = Field("Name", required=True, submit=self._submit)
            self._description = Field("Description", submit=self._submit)
            self._os_type = Field("Operating system", "other_linux", kind="select", options=OS_TYPES)
            targets = {one.id: f"{one.name} ({size_words(one.available)} free)" for one in domains}
            first = next(iter(targets), "")
            self._target = Field("Target storage domain", first, kind="select", options=targets)
            rest = Text("p", classes="vs-error", role="alert")
            with Element("div").classes("vs-buttons"):
                Button("Cancel", self._modal.close)
                self._ok = Button("Import", self._submit, look="primary")
        fields = {
            "VALIDATION_": self._name,
            "ACTION_TYPE_FAILED_NAME_": self._name,
            "ACTION_TYPE_FAILED_STORAGE_DOMAIN_": self._target,
        }
        self._errors = Errors(fields, rest)

    async def open_folder(self, path: str) -> None:
        """Show a folder in the chooser; without a host, or outside of the allowed folders, why not."""
        try:
            self._files.show(await self._visit.services.looks.import_folder(path))
        except Refusal as refusal:
            self._files_error.show(plain(refusal))
        else:
            self._files_error.show("")

    def _paths(self) -> list[str]:
        return [line.strip() for line in self._images.text.splitlines() if line.strip()]

    def _choose(self, path: str, is_chosen: bool) -> None:
        paths = [one for one in self._paths() if one != path] + ([path] if is_chosen else [])
        self._images.set_value("\n".join(paths))
        self._files.tick(paths)
        if is_chosen and not self._name.text:
            self._name.set_value(PurePosixPath(path).stem)

    async def _images_changed(self) -> None:
        self._files.tick(self._paths())

    async def _submit(self) -> None:
        self._errors.clear()
        self._images.set_error()
        paths = self._paths()
        if not paths:
            self._images.set_error("Choose at least one disk image.")
            self._images.focus()
            return
        request = ImportVmRequest(
            name=self._name.text,
            images=tuple(ImportedImage(path=path) for path in paths),
            description=self._description.text,
            os_type=self._os_type.text,
            storage_domain=Named(id=self._target.text) if self._target.text else None,
        )
        self._ok.set_disabled(disabled=True)
        try:
            started = await self._visit.act(lambda commands, caller: commands.import_vm(request, caller))
        except Refusal as refusal:
            self._errors.show(refusal)
            self._ok.set_disabled(disabled=False)
            return
        self._modal.close()
        self._visit.client.open(f"/tasks/{started.job_id}")
