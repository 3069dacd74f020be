#!/usr/bin/env python3
"""Counts what users of the crate see, from the JSON that rustdoc writes, and fails above a limit.

    cargo rustdoc --lib --all-features -- -Z unstable-options --output-format json    (with RUSTC_BOOTSTRAP=1)
    tests/surface.py JSON LIMIT [--list]

Counted once each is every module, function, struct, public field, enum, variant, field of a variant, trait, item of a trait,
method, constant, type and macro that paths from the crate's root lead to, by `pub use` too, and that is not `doc(hidden)`. What an
implementation of a trait brings is the trait's. A re-exported crate counts as one item.

It also fails where a signature names a type of naga, whose versions are not strait's to promise, or one of strait's own to
which no public path leads.
"""

import collections
import json
import sys

FORBIDDEN = {"naga"}


class Surface:
    def __init__(self, crate):
        self.index, self.paths = crate["index"], crate["paths"]
        self.crates = {int(id): krate["name"] for id, krate in crate["external_crates"].items()}
        self.own = self.index[str(crate["root"])]["crate_id"]
        self.seen, self.counted, self.named = set(), [], []
        self.module(self.index[str(crate["root"])], self.index[str(crate["root"])]["name"])

    def get(self, id):
        """An item that is documented, or None: rustdoc leaves out what is hidden or private."""
        return self.index.get(str(id))

    def count(self, item, module, name):
        """Counts an item once; whether it is the first time."""
        if item["id"] in self.seen or any("doc(hidden)" in str(attr) for attr in item["attrs"]):
            return False
        self.seen.add(item["id"])
        self.counted.append((module, kind(item), name))
        return True

    def module(self, item, path):
        if not self.count(item, path, path):
            return
        self.uses(item, path)

    def uses(self, module, path):
        for id in module["inner"]["module"]["items"]:
            item = self.get(id)
            if item and item["visibility"] == "public":
                self.item(item, path)

    def item(self, item, module, alias=None):
        name = f"{module}::{alias or item['name']}"
        inner = item["inner"]
        if "use" in inner:
            use = inner["use"]
            target = self.get(use["id"]) if use["id"] is not None else None
            if target is None or target["crate_id"] != self.own:
                self.count(item, module, f"{module}::{use['name']}")
            elif use["is_glob"]:
                members = target["inner"].get("module", target["inner"].get("enum"))
                for id in members["items"] if "items" in members else members["variants"]:
                    if self.get(id):
                        self.item(self.get(id), module)
            else:
                self.item(target, module, use["name"])
            return
        if "module" in inner:
            self.module(item, name)
            return
        if not self.count(item, module, name):
            return
        if "struct" in inner:
            self.named.append((name, inner["struct"]["generics"]))
            fields = inner["struct"]["kind"]
            if isinstance(fields, dict):
                fields = fields.get("plain", {}).get("fields") or fields.get("tuple") or []
                self.fields(fields, module, name)
        elif "enum" in inner:
            self.named.append((name, inner["enum"]["generics"]))
            for id in inner["enum"]["variants"]:
                variant = self.get(id)
                if variant and self.count(variant, module, f"{name}::{variant['name']}"):
                    fields = variant["inner"]["variant"]["kind"]
                    if isinstance(fields, dict):
                        fields = fields.get("struct", {}).get("fields") or fields.get("tuple") or []
                        # Fields of variants are public without saying so.
                        self.fields(fields, module, f"{name}::{variant['name']}", "default")
        elif "trait" in inner:
            self.named.append((name, inner["trait"]["bounds"]))
            for id in inner["trait"]["items"]:
                member = self.get(id)
                if member and self.count(member, module, f"{name}::{member['name']}"):
                    self.named.append((f"{name}::{member['name']}", member["inner"]))
        else:
            self.named.append((name, inner))
        for key in ("struct", "enum", "union"):
            for id in inner.get(key, {}).get("impls", []):
                self.impl(self.get(id), module, name)

    def fields(self, ids, module, name, visibility="public"):
        for id in ids:
            field = self.get(id) if id is not None else None
            if field and field["visibility"] == visibility and self.count(field, module, f"{name}.{field['name']}"):
                self.named.append((f"{name}.{field['name']}", field["inner"]))

    def impl(self, item, module, name):
        if item is None:
            return
        inner = item["inner"]["impl"]
        if inner["is_synthetic"] or inner["blanket_impl"]:
            return
        if inner["trait"] is None:
            for id in inner["items"]:
                member = self.get(id)
                if member and member["visibility"] == "public":
                    if self.count(member, module, f"{name}::{member['name']}"):
                        self.named.append((f"{name}::{member['name']}", member["inner"]))
        else:
            types = [self.get(id)["inner"] for id in inner["items"] if self.get(id) and "assoc_type" in self.get(id)["inner"]]
            self.named.append((f"{name} as {inner['trait']['path']}", [inner["trait"], types]))

    def wrong(self):
        """What signatures name and should not."""
        for name, signature in self.named:
            for id in sorted(set(ids(signature))):
                path = self.paths.get(str(id))
                if path is None:
                    continue
                krate = self.crates.get(path["crate_id"]) or path["path"][0]
                if krate in FORBIDDEN:
                    yield f"{name} names {'::'.join(path['path'])}"
                elif path["crate_id"] == self.own and id not in self.seen:
                    yield f"{name} names {'::'.join(path['path'])}, to which no public path leads"


def kind(item):
    return next(iter(item["inner"]))


def ids(value):
    """The ids of all types and traits in a signature."""
    if isinstance(value, dict):
        if "id" in value and "path" in value:
            yield value["id"]
        for part in value.values():
            yield from ids(part)
    elif isinstance(value, list):
        for part in value:
            yield from ids(part)


def main():
    file, limit = sys.argv[1], int(sys.argv[2])
    with open(file, encoding="utf-8") as opened:
        surface = Surface(json.load(opened))
    modules = collections.Counter(module for module, _, _ in surface.counted)
    for module, count in sorted(modules.items()):
        print(f"{count:5} {module}")
    total = len(surface.counted)
    print(f"{total:5} in all; allowed are {limit}")
    if "--list" in sys.argv:
        for module, kind_, name in sorted(surface.counted, key=lambda item: item[2]):
            print(f"{kind_:16} {name}")
    wrong = list(surface.wrong())
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong or total > limit else 0)


if __name__ == "__main__":
    main()
