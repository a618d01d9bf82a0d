"""The question before a template is removed."""

from __future__ import annotations

from vmseal.engine.queries.templates import TemplateRow
from vmseal.engine.ui.dialogs.confirm import confirm
from vmseal.engine.ui.visit import Visit


def ask_to_remove_template(visit: Visit, template: TemplateRow) -> None:
    """Ask, then remove the template."""

    async def do() -> None:
        await visit.act(lambda commands, caller: commands.remove_vm_template(template.id, caller))
        visit.say(f"{template.name} is being removed.")

    confirm(
        f"Remove {template.name}, version {template.version_number}?",
        "The template and its disks are deleted. This cannot be undone.",
        verb="Remove",
        do=do,
    )
