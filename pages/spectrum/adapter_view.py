"""What is shown of an adapter's update: the map of its modules, and one module in numbers."""

from __future__ import annotations

from html import escape

from lora_engine.language import tr, translatable
from lora_engine.spectrum import SHARES, AdapterSpectrum, ModuleSpectrum, effective_rank
from pages import ADAPTERS, SPECTRUM
from pages.shared import layout
from pages.spectrum.module_grid import Cell, Measure, grid_value

MEASURES = (
    Measure(
        "k95",
        translatable("directions for 95 %"),
        translatable("Directions that carry 95 % of the update's energy."),
        "count",
    ),
    Measure(
        "norm",
        translatable("norm"),
        translatable("‖ΔW‖, the Frobenius norm of the update."),
        log=True,
    ),
    Measure(
        "effective",
        translatable("effective rank"),
        translatable("exp(−Σ p ln p) with p = σ / Σσ (Roy, Vetterli 2007)."),
    ),
    Measure(
        "k90",
        translatable("directions for 90 %"),
        translatable("Directions that carry 90 % of the update's energy."),
        "count",
    ),
    Measure(
        "share",
        translatable("share of the base"),
        translatable("‖ΔW‖ / ‖W‖, with the base weight's norm."),
        "share",
        log=True,
    ),
    Measure(
        "amplification",
        translatable("amplification"),
        translatable(
            "‖ΔW‖ / ‖UᵀWV‖ with the update's own directions U, V: how much more of them there is "
            "now (LoRA paper, table 7)."
        ),
        log=True,
    ),
)


def adapter_grid_value(found: AdapterSpectrum, name: str, picked: str) -> str:
    """The value of `module_grid` for an adapter named `name`, the module `picked` pressed."""
    cells = [Cell(module.name, _numbers(module), module.sentence()) for module in found.modules]
    return grid_value(
        cells,
        MEASURES,
        sentence=found.sentence(),
        notes=found.notes,
        state={"adapter": name},
        chosen=picked,
    )


def _numbers(module: ModuleSpectrum) -> dict[str, float | None]:
    base = module.base
    return {
        "norm": module.frobenius_norm,
        "effective": effective_rank(module.singular_values),
        "k90": module.directions(0.90),
        "k95": module.directions(0.95),
        "share": base.relative_norm if base else None,
        "amplification": base.amplification if base else None,
    }


def module_html(name: str, module: ModuleSpectrum) -> str:
    """One module of the adapter `name` in numbers."""
    base = module.base
    counts = ", ".join(f"{module.directions(share):,}" for share in SHARES)
    tiles = [
        (tr("norm ‖ΔW‖"), layout.number(module.frobenius_norm), tr("Frobenius")),
        (tr("effective rank"), layout.number(effective_rank(module.singular_values)),
         tr("of the {rank} trained", rank=f"{module.rank:,}")),
        (tr("directions for 90, 95, 99 %"), counts, tr("of the energy")),
        (tr("scaling"), layout.number(module.scaling), tr("α / r, or α / √r with rsLoRA")),
    ]  # fmt: skip
    if base is not None and base.relative_norm is not None:
        tiles.append((tr("share of the base"), layout.share(base.relative_norm), "‖ΔW‖ / ‖W‖"))
    if base is not None and base.amplification is not None:
        tiles.append((tr("amplification"), layout.number(base.amplification), "‖ΔW‖ / ‖UᵀWV‖"))
    address = layout.link(SPECTRUM, update=name, module=module.name)
    resize = layout.link(ADAPTERS, adapter=name, tab="resize")
    return (
        f'<div class="rs-module"><h3>{escape(module.name)} <span>{module.shape[0]:,} × '
        f"{module.shape[1]:,}</span></h3><p>{escape(module.sentence())}</p>"
        f'{layout.tiles_html(tiles)}<p class="rs-module-ways"><a class="rs-button rs-small" '
        f'href="{escape(address)}">'
        f"{escape(tr('See this update at every k'))}</a>"
        f'<a class="rs-button rs-small" href="{escape(resize)}">'
        f"{escape(tr('Resize the adapter'))}</a></p></div>"
    )


def strongest(found: AdapterSpectrum) -> str:
    """The module that changed most: the one shown first."""
    return max(found.modules, key=lambda module: module.frobenius_norm).name
