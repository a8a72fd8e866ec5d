"""Auto: every drafter that needs no model of its own; the governor then asks those that pay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from ragdecode.decoding.drafter import Drafter, DraftSession
from ragdecode.decoding.speculation.composing import composed_by_looks
from ragdecode.errors import InputError
from ragdecode.spec.registry import register

if TYPE_CHECKING:
    from ragdecode.decoding.request import Request
    from ragdecode.decoding.rule import Rule

#: What it stands for, cheapest first, with the settings that differ from the usual. Lookahead is not among them, for
#: its window costs nodes in every step, nor is what skips layers, for its looks are nearly whole passes.
MEMBERS: dict[str, dict[str, Any]] = {
    "prompt_lookup": {},
    "recycling": {},
    "ngram": {},
    "datastore": {},
    "quantized": {"otherwise": "idle"},
}
#: Members that read a store of the index.
STORES = {"datastore": "tokens"}


@register("drafter", "auto")
class Auto(Drafter):
    """All drafters that need no further model: `draft: auto` is replaced by them when a pipeline is loaded."""

    @staticmethod
    def members(
        known: Collection[str],
        stores: Collection[str],
        rules: Sequence[Rule] = (),
        alike: Callable[[str], bool] = lambda view: True,
    ) -> dict[str, dict[str, Any]]:
        """The drafters that it stands for, of those that are ``known``, over an index with these stores.

        Under rules that ask for more than looks tell the 4-bit copy is left out: it would know one view only, and
        half of its guesses be wrong.

        Args:
            known: Names of drafters that there are.
            stores: Names of the index's stores.
            rules: The rule chain.
            alike: Whether a view differs from the target in its prompt alone.

        Returns:
            Their settings by name.
        """
        light = not rules or composed_by_looks(rules, alike)
        return {
            name: settings
            for name, settings in MEMBERS.items()
            if name in known and STORES.get(name, "") in {"", *stores} and (light or name != "quantized")
        }

    def start(self, request: Request) -> DraftSession:
        """Never called: whoever builds a pipeline builds the members.

        Raises:
            InputError: It stands in a request of the bare engine.
        """
        raise InputError("'auto' stands for other drafters and drafts nothing itself", hint="name the drafters")
