"""New VM: a virtual machine from a template."""

from __future__ import annotations

from nicegui.element import Element

from vmseal.engine.queries import choices
from vmseal.engine.requests import AddVmRequest, Named, Refusal
from vmseal.engine.ui.dialogs.refusals import Errors
from vmseal.engine.ui.visit import Visit
from vmseal.engine.ui.widgets.field import Field
from vmseal.engine.ui.widgets.modal import Modal
from vmseal.engine.ui.widgets.simple import Button, Text

AS_RULED = "As the engine is set"
SEALS: dict[str, bool | None] = {"": None, "yes": True, "no": False}


async def open_new_vm(visit: Visit, template_id: str | None = None) -> None:
    """Open the dialog, for a template when one is given."""
    template = await visit.live.read(choices.template_choice, template_id) if template_id else None
    NewVm(visit, template).show(await visit.live.read(choices.cluster_choices))


class NewVm:
    """The dialog."""

    def __init__(self, visit: Visit, template: choices.Choice | None) -> None:
        self._visit = visit
        self._given = template

    def show(self, clusters: tuple[choices.Choice, ...]) -> None:
        """Build it, open."""
        title = f"New virtual machine of {self._given.name}" if self._given else "New virtual machine"
        with Modal(title) as self._modal:
            self._name = Field("Name", required=True, focused=True, submit=self._submit)
            self._template = Field(
                "Template",
                self._given.name if self._given else "",
                required=True,
                hint="Of several versions the newest is taken.",
                changed=self._suggest,
                submit=self._submit,
            )
            self._template.set_visibility(self._given is None)
            self._description = Field("Description", submit=self._submit)
            names = {one.id: one.name for one in clusters}
            self._cluster = Field("Cluster", next(iter(names), ""), kind="select", options=names)
            seals = {"": AS_RULED, "yes": "Seal the new disks", "no": "Do not seal"}
            self._seal = Field("Sealed", kind="select", options=seals, hint="For Linux only.")
            rest = Text("p", classes="vs-error", role="alert")
            with Element("div").classes("vs-buttons"):
                Button("Cancel", self._modal.close)
                self._ok = Button("Create", self._submit, look="primary")
        fields = {
            "VALIDATION_": self._name,
            "ACTION_TYPE_FAILED_NAME_": self._name,
            "ACTION_TYPE_FAILED_TEMPLATE_": self._template,
            "VM_TEMPLATE_IMAGE_IS_LOCKED": self._template,
        }
        self._errors = Errors(fields, rest)

    async def _suggest(self) -> None:
        found = await self._visit.live.read(choices.base_template_choices, self._template.text)
        self._template.set_options({one.name: one.name for one in found})

    async def _submit(self) -> None:
        self._errors.clear()
        template = Named(id=self._given.id) if self._given else Named(name=self._template.text)
        request = AddVmRequest(
            name=self._name.text,
            cluster=Named(id=self._cluster.text or None),
            template=template,
            description=self._description.text,
            seal=SEALS.get(self._seal.text),
        )
        self._ok.set_disabled(disabled=True)
        try:
            started = await self._visit.act(lambda commands, caller: commands.add_vm(request, caller))
        except Refusal as refusal:
            self._errors.show(refusal)
            self._ok.set_disabled(disabled=False)
            return
        self._modal.close()
        self._visit.client.open(f"/tasks/{started.job_id}")
