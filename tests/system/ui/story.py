"""The story that the web UI is made for: from an image file to a sealed template and a machine made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Locator, Page, expect
from tests.system.ui.hands import Hands

Picture = Callable[[str], None]


@dataclass(frozen=True)
class Story:
    """What it is told with. ``patience``: the milliseconds that the longest job may take."""

    page: Page
    hands: Hands
    picture: Picture
    patience: float

    def sign_in(self, url: str, password: str) -> None:
        """Sign in, from an address that needs it."""
        self.page.goto(url)
        self.picture("sign-in")
        self.hands.fill(self.page.get_by_label("Password"), password)
        self.hands.press(self.page.get_by_role("button", name="Sign in"))
        self.page.get_by_role("navigation", name="Main").wait_for()

    def import_vm(self, path: str) -> None:
        """Import an image as the VM "web"."""
        self._go("Virtual machines")
        self.hands.press(self.page.get_by_role("button", name="Import", exact=True))
        dialog = self.page.get_by_role("dialog", name="Import a virtual machine")
        self.hands.fill(dialog.get_by_label("Disk images"), path)
        self.hands.fill(dialog.get_by_label("Name", exact=True), "web")
        self.picture("import")
        self.hands.press(dialog.get_by_role("button", name="Import", exact=True))
        self.hands.press(self._late(self.page.get_by_role("link", name="Show the virtual machine")))
        expect(self.page.get_by_role("row", name="web")).to_contain_text("down")
        self.picture("virtual-machines")

    def make_template(self) -> None:
        """Have a sealed template made of the VM, after a look at what will be removed."""
        self.hands.press(self.page.get_by_role("button", name="New template web"))
        dialog = self.page.get_by_role("dialog", name="New template of web")
        expect(dialog.get_by_label("Name", exact=True)).to_be_focused()
        self.hands.fill(dialog.get_by_label("Name", exact=True), "web-1")
        self.hands.tick(dialog.get_by_label("Seal Template (Linux only)"))
        self.hands.press(dialog.get_by_role("button", name="Show what will be removed"))
        self._late(dialog.get_by_text("Nothing was touched."))
        expect(dialog.get_by_text("machine-id", exact=True).first).to_be_visible()
        dialog.get_by_label("Search in operations and paths").evaluate("field => field.scrollIntoView()")
        self.picture("what-will-be-removed")
        self.hands.press(dialog.get_by_role("button", name="Create"))
        expect(self.page.get_by_role("heading", level=2).first).to_have_text(
            "Creating sealed Template web-1 from VM web"
        )

    def see_it_being_sealed(self) -> None:
        """See that the phase in which the disks are sealed is running."""
        self._late(self.page.locator("[aria-current=step]", has_text="Seal"))
        self.picture("phases")

    def wait_for_template(self) -> None:
        """Watch the rest, and go to the template."""
        self.hands.press(self._late(self.page.get_by_role("link", name="Show the template")))
        heading = self.page.get_by_role("heading", level=2, name="web-1")
        expect(heading).to_be_visible()

    def look_at_template(self) -> None:
        """Look at the template's report, have it audited and proved, and see both."""
        self._tab("Seal report")
        expect(self.page.get_by_text("machine-id", exact=True).first).to_be_visible()
        self.picture("seal-report")
        for tab, button in (("Audit", "Audit now"), ("Proof", "Prove now")):
            self._tab(tab)
            self.hands.press(self.page.get_by_role("button", name=button))
            self.hands.press(self.page.get_by_role("link", name="Show the task"))
            self.hands.press(self._late(self.page.get_by_role("link", name="Show the template")))
            self._tab(tab)
            shown = self.page.get_by_role("region", name=tab, exact=True)
            expect(shown.get_by_text("passed", exact=True)).to_be_visible()
            self.picture(tab.lower())

    def make_vm(self) -> None:
        """Make the VM "clone" from the template."""
        self.hands.press(self.page.get_by_role("button", name="New VM"))
        dialog = self.page.get_by_role("dialog", name="New virtual machine")
        self.hands.fill(dialog.get_by_label("Name", exact=True), "clone")
        self.hands.press(dialog.get_by_role("button", name="Create"))
        self.hands.press(self._late(self.page.get_by_role("link", name="Show the virtual machine")))
        expect(self.page.get_by_role("row", name="clone")).to_contain_text("web-1")

    def remove_all(self) -> None:
        """Remove the machines, then the template."""
        self._go("Virtual machines")
        for name in ("clone", "web"):
            self._remove(name)
        self._late(self.page.get_by_text("There is no virtual machine yet."))
        self._go("Templates")
        self._remove("web-1")
        self._late(self.page.get_by_text("There is no template yet."))

    def _remove(self, name: str) -> None:
        self.hands.press(self.page.get_by_role("button", name=f"Remove {name}", exact=True))
        dialog = self.page.get_by_role("dialog")
        self.hands.press(dialog.get_by_role("button", name="Remove", exact=True))
        expect(dialog).to_be_hidden()

    def _go(self, place: str) -> None:
        self.hands.press(self.page.get_by_role("navigation", name="Main").get_by_role("link", name=place))
        expect(self.page.get_by_role("heading", level=1)).to_have_text(place)

    def _tab(self, title: str) -> None:
        self.hands.press(self.page.get_by_role("navigation", name="Template").get_by_role("link", name=title))
        self.page.get_by_role("region", name=title).wait_for()

    def _late(self, element: Locator) -> Locator:
        element.first.wait_for(timeout=self.patience)
        return element.first
