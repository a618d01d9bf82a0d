"""New Template: oVirt's dialog, with the box that seals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from nicegui.element import Element

from vmseal.engine.queries import choices
from vmseal.engine.queries.vms import VmDetail, VmDisk, vm_detail
from vmseal.engine.requests import AddVmTemplateRequest, DiskChoice, Named, Refusal, SealChoice
from vmseal.engine.ui.dialogs.refusals import Errors
from vmseal.engine.ui.dialogs.seal_plan import SealPlanView
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.cells import size_words
from vmseal.engine.ui.widgets.field import Field
from vmseal.engine.ui.widgets.modal import Modal
from vmseal.engine.ui.widgets.simple import Button, Text

FORMATS = {"cow": "QCOW2", "raw": "Raw"}
AS_SET = "As set on the engine or the host"


@dataclass(frozen=True)
class Again:
    """What an earlier try said."""

    name: str
    seals: bool


async def open_new_template(visit: Visit, vm_id: str, again: Again | None = None) -> None:
    """Open the dialog for a VM, with what an earlier try said."""
    vm = await visit.live.read(vm_detail, vm_id)
    if vm is None:
        visit.say("The virtual machine is gone.")
        return
    dialog = NewTemplate(
        visit,
        vm,
        clusters=await visit.live.read(choices.cluster_choices),
        domains=await visit.live.read(choices.domain_choices),
        words=await visit.live.read(choices.sealing_words),
    )
    await dialog.show(again)


class NewTemplate:
    """The dialog."""

    def __init__(
        self,
        visit: Visit,
        vm: VmDetail,
        *,
        clusters: tuple[choices.Choice, ...],
        domains: tuple[choices.DomainChoice, ...],
        words: choices.SealingWords,
    ) -> None:
        self._visit = visit
        self._vm = vm
        self._clusters = clusters
        self._domains = domains
        self._words = words
        self._disks: list[DiskFields] = []

    async def show(self, again: Again | None) -> None:
        """Build it, open."""
        with Modal(f"New template of {self._vm.name}", wide=True, on_close=self._closed) as self._modal:
            self._build_names()
            self._build_disks()
            self._build_seal()
            rest = Text("p", classes="vs-error", role="alert")
            with Element("div").classes("vs-buttons"):
                Button("Cancel", self._modal.close)
                self._ok = Button("Create", self._submit, look="primary")
        fields = {
            "VALIDATION_": self._name,
            "ACTION_TYPE_FAILED_NAME_": self._name,
            "ACTION_TYPE_FAILED_TEMPLATE_NAME_": self._name,
            "ACTION_TYPE_FAILED_TEMPLATE_": self._base,
            "BLANK_TEMPLATE_": self._base,
            "VM_TEMPLATE_IMAGE_IS_LOCKED": self._base,
            "VM_TEMPLATE_CANNOT_SEAL_": self._seal,
        }
        if self._disks:
            fields["ACTION_TYPE_FAILED_EMPTY_DISK_ALIAS"] = self._disks[0].alias
            fields["ACTION_TYPE_FAILED_STORAGE_DOMAIN_"] = self._disks[0].target
            fields["ACTION_TYPE_FAILED_DISK_SPACE_"] = self._disks[0].target
        self._errors = Errors(fields, rest)
        if again is not None:
            self._name.set_value(again.name)
            self._seal.set_value(again.seals)
            await self._seal_changed()

    def _build_names(self) -> None:
        self._name = Field("Name", required=True, focused=True, submit=self._submit)
        self._description = Field("Description", submit=self._submit)
        self._comment = Field("Comment", submit=self._submit)
        clusters = {one.id: one.name for one in self._clusters}
        self._cluster = Field("Cluster", self._vm.cluster_id, kind="select", options=clusters)
        self._is_version = Field(
            "Create as a sub-version of an existing template",
            value=False,
            kind="checkbox",
            changed=self._version_changed,
            submit=self._submit,
        )
        self._version = Element("div").classes("vs-group")
        with self._version:
            self._base = Field(
                "Root template",
                required=True,
                hint="The new version bears its name.",
                changed=self._suggest,
                submit=self._submit,
            )
            self._version_name = Field("Sub-version name", submit=self._submit)
        self._version.set_visibility(False)

    def _build_disks(self) -> None:
        Text("h3", "Disks")
        if not self._vm.disks:
            Text("p", "The virtual machine has no disks.")
            return
        with Element("table"):
            with Element("thead"), Element("tr"):
                for heading in ("Alias", "Virtual size", "Format", "Target storage domain"):
                    Text("th", heading, scope="col")
            with Element("tbody"):
                self._disks = [DiskFields(disk, self._domains, self) for disk in self._vm.disks]

    def _build_seal(self) -> None:
        self._seal = Field(
            "Seal Template (Linux only)",
            value=False,
            kind="checkbox",
            hint="Removes from the copies what identifies the machine or is secret. The machine itself stays as it is.",
            changed=self._seal_changed,
            submit=self._submit,
        )
        self._sealing = Element("div").classes("vs-group")
        with self._sealing:
            profiles = {"": AS_SET} | {word: word for word in self._words.profiles}
            sealers = {"": AS_SET} | {word: word for word in self._words.sealers}
            self._profile = Field("Profile", kind="select", options=profiles, hint="What is removed.")
            self._sealer = Field("Sealer", kind="select", options=sealers, hint="What opens the disks and removes it.")
            self._plan = SealPlanView(self._visit, self._vm.id, choice=self._sealing_choice)
        self._sealing.set_visibility(False)

    def _sealing_choice(self) -> SealChoice:
        return SealChoice(sealer=self._sealer.text or None, profile=self._profile.text or None)

    async def _version_changed(self) -> None:
        self._version.set_visibility(self._is_version.is_ticked)
        self._name.set_disabled(disabled=self._is_version.is_ticked)
        if self._is_version.is_ticked:
            await self._suggest()

    async def _suggest(self) -> None:
        found = await self._visit.live.read(choices.base_template_choices, self._base.text)
        self._base.set_options({one.name: one.name for one in found})

    async def _seal_changed(self) -> None:
        self._seal.set_error()
        self._sealing.set_visibility(self._seal.is_ticked)

    async def _submit(self) -> None:
        self._errors.clear()
        request = await self._request()
        if request is None:
            return
        self._ok.set_disabled(disabled=True)
        try:
            started = await self._visit.act(lambda commands, caller: commands.add_vm_template(request, caller))
        except Refusal as refusal:
            self._errors.show(refusal)
            self._ok.set_disabled(disabled=False)
            return
        self._modal.close()
        self._visit.client.open(f"/tasks/{started.job_id}")

    async def _request(self) -> AddVmTemplateRequest | None:
        """Return what the fields say; None when the root template does not exist, which is said beside it then."""
        base_id = None
        if self._is_version.is_ticked:
            base_id = await self._visit.live.read(choices.base_template_id, self._base.text)
            if base_id is None:
                self._base.set_error(f"There is no template named {self._base.text!r} that can have versions.")
                self._base.focus()
                return None
        seals = self._seal.is_ticked
        return AddVmTemplateRequest(
            name=self._name.text,
            vm=Named(id=self._vm.id),
            seal=seals,
            sealing=self._sealing_choice() if seals else SealChoice(),
            description=self._description.text,
            comment=self._comment.text,
            cluster=Named(id=self._cluster.text) if self._cluster.text else None,
            base_template_id=base_id,
            version_name=self._version_name.text if base_id else "",
            disks=tuple(disk.choice() for disk in self._disks),
        )

    def _closed(self) -> None:
        self._plan.stop()

    async def submit(self) -> None:
        """Submit, as Enter in a field does."""
        await self._submit()


class DiskFields:
    """A disk's row."""

    def __init__(self, disk: VmDisk, domains: tuple[choices.DomainChoice, ...], dialog: NewTemplate) -> None:
        self._disk = disk
        targets = {one.id: f"{one.name} ({size_words(one.available)} free)" for one in domains}
        field = partial(Field, compact=True)
        with Element("tr"):
            with Element("td"):
                self.alias = field(f"Alias of {disk.name}", disk.name, required=True, submit=dialog.submit)
            Text("td", size_words(disk.size))
            with Element("td"):
                self._format = field(f"Format of {disk.name}", disk.format, kind="select", options=FORMATS)
            with Element("td"):
                self.target = field(f"Target of {disk.name}", disk.domain_id, kind="select", options=targets)

    def choice(self) -> DiskChoice:
        """Return what the row says."""
        return DiskChoice(
            disk_id=self._disk.id,
            name=self.alias.text,
            format=self._format.text,
            storage_domain_id=self.target.text,
        )
