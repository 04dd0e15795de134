"""How the page looks: one theme for light and dark, system fonts only, nothing fetched from elsewhere."""

from __future__ import annotations

import gradio as gr

CSS = """
.gradio-container {max-width: 1400px !important; width: 100% !important; margin: 0 auto !important;}
.gradio-container main, .gradio-container main > .wrap, .gradio-container .tabs {width: 100% !important;}
.dark {--color-accent: #a5b4fc;}
#head {align-items: flex-end; gap: 1rem; padding: .4rem .2rem 0;}
#head h1 {font-size: 1.55rem; margin: 0; letter-spacing: -.02em;}
#head p {margin: .1rem 0 0; color: var(--body-text-color);}
#place {color: var(--body-text-color); font-size: .85rem;}
#place p {margin: 0;}
.tab-container button {font-size: 1rem;}
.note-line {min-height: 0; border: 0 !important; background: none !important;}
.note-line:not(:has(.note)) {display: none !important;}
.note-line .html-container, .bare .html-container {padding: 0 !important;}
.note {display: flex; gap: .8rem; align-items: center; padding: .5rem .8rem; border-radius: var(--radius-md);
  background: var(--background-fill-secondary); border-left: 3px solid var(--color-accent); line-height: 1.35;}
.note span {flex: 1;}
.note progress {width: 38%; height: .5rem; accent-color: var(--color-accent);}
.note.trouble {border-left-color: var(--error-border-color); background: var(--error-background-fill);
  color: var(--error-text-color);}
.empty {border: 1.5px dashed var(--border-color-primary); border-radius: var(--radius-lg); padding: 3.2rem 1.5rem;
  text-align: center; color: var(--body-text-color-subdued); line-height: 1.5;}
.tall .empty {min-height: 22rem; display: flex; flex-direction: column; justify-content: center;}
.empty b {color: var(--body-text-color); display: block; font-size: 1.05rem; margin-bottom: .3rem;}
.chips {gap: .45rem !important;}
.chips button {flex: 0 1 auto !important; border-radius: 999px !important; min-width: 0 !important;}
.hint p {color: var(--body-text-color-subdued); margin: 0;}
.slim {min-width: 0 !important;}
.calm {background: none !important; border: 1px solid var(--border-color-primary) !important;
  color: var(--body-text-color) !important;}
.bottom {align-items: flex-end !important;} .wrapping {flex-wrap: wrap !important;}
@media (max-width: 640px) {.gradio-container button.lg, .gradio-container button.md, .gradio-container button.sm,
  .tools button {min-height: 44px;} .wrapping > * {flex-basis: 100% !important; min-width: 0 !important;}}
#concepts td, #concepts th {font-family: inherit !important;}
.square {max-width: 430px; margin: 0 auto;}
.prose table {width: 100%; font-size: .92rem; border: 0 !important;}
.prose table tr {border: 0 !important;}
.prose table td {overflow-wrap: break-word; word-break: normal;}
.prose table th {white-space: nowrap;}
.prose table th, .prose table td {border: 0;
  border-bottom: 1px solid var(--border-color-primary); padding: .4rem .5rem;}
.pairs .grid-wrap {height: auto !important; max-height: none !important; min-height: 0 !important; padding-top: 2rem;}
.pairs .grid-container {grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)) !important;}
.pairs .caption-label {background: var(--background-fill-primary) !important; color: var(--body-text-color) !important;
  opacity: 1 !important;}
.pairs .thumbnail-item {aspect-ratio: 2 / 1 !important; height: auto !important;}
.veiled img {filter: blur(16px); transition: filter .15s;}
.veiled button:focus img, .veiled button:active img, .veiled .preview img {filter: none;}
.file-row {align-items: center !important; border-bottom: 1px solid var(--border-color-primary); padding: .55rem 0;}
.file-row .prose p {margin: 0;}
.errand h2 {font-size: 1.25rem; margin: .2rem 0 .1rem;}
.run {min-height: 44px;}
.verdict {display: flex; gap: .7rem; align-items: flex-start; padding: .6rem .9rem; border-radius: var(--radius-md);
  border-left: 5px solid; line-height: 1.4; background: var(--background-fill-secondary);
  color: var(--body-text-color);}
.verdict p {margin: 0; color: inherit;} .verdict small {display: block; font-size: .82rem; opacity: .9;}
.verdict > span {font-weight: 700;}
.verdict.good {border-color: #15803d;} .verdict.look {border-color: #b45309;} .verdict.bad {border-color: #b91c1c;}
.verdict.calm {border-color: var(--border-color-primary);}
.verdict.stale {border-color: var(--border-color-primary); border-left-style: dashed;}
.chips-line {display: flex; flex-wrap: wrap; gap: .4rem; list-style: none; padding: 0; margin: 0;}
.chip {border: 1px solid var(--border-color-primary); border-radius: 99px; padding: .15rem .7rem; font-size: .88rem;
  color: var(--body-text-color); background: var(--background-fill-primary); margin: 0;}
.chip.unknown {border-color: #b91c1c; border-style: dashed;} .chip.far {border-color: #b45309;}
.about-files {margin: 0; padding-left: 1.1rem; font-size: .85rem; line-height: 1.45; color: var(--body-text-color);}
.film {display: grid; grid-template-columns: repeat(9, minmax(0, 1fr)); gap: .3rem;}
.film figure {margin: 0;} .film img {width: 100%; margin: 0; border-radius: var(--radius-sm);}
.film figcaption {text-align: center; font-size: .8rem; color: var(--body-text-color);}
@media (max-width: 640px) {.main-row {position: fixed !important; inset: auto 0 0; z-index: 50; padding: .5rem .8rem;
  background: var(--background-fill-primary); border-top: 1px solid var(--border-color-primary);}
  .main-row button.run {width: 100%;} .gradio-container {padding-bottom: 76px !important;}}
@media (max-width: 640px) {.film {grid-template-columns: repeat(3, minmax(0, 1fr));}}
.counted {width: 100%; border-collapse: collapse; font-size: .92rem; color: var(--body-text-color);}
.counted th, .counted td {text-align: left; padding: .4rem .5rem; border-bottom: 1px solid var(--border-color-primary);}
.past {margin: 0; font-size: .85rem; color: var(--body-text-color);}
#pulse {position: fixed; inset: auto 0 0; z-index: 99; padding: .7rem 1.2rem; text-align: center; line-height: 1.4;
  background: var(--error-background-fill); color: var(--error-text-color);
  border-top: 2px solid var(--error-border-color);}
#pulse[hidden] {display: none;}
button:focus-visible, input:focus-visible, textarea:focus-visible, [tabindex]:focus-visible {
  outline: 2px solid var(--color-accent) !important; outline-offset: 2px;}
@media (prefers-reduced-motion: reduce) {* {transition: none !important; animation: none !important;}}
"""
"""Every colour is the theme's, so dark is dark."""


def theme() -> gr.themes.Base:
    """Calm: one accent, quiet greys, the fonts of the visitor's own machine."""
    return gr.themes.Base(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="md",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
    ).set(
        button_large_text_size="*text_md",
        button_large_padding="*spacing_sm *spacing_lg",
        block_label_background_fill="*background_fill_secondary",
        block_border_width="1px",
        # Contrast of 4.5 : 1 and more: help, labels and placeholders are read too.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )


def empty(title: str, text: str) -> str:
    """What a place says before there is anything in it. Both are our own words, never a visitor's."""
    return f'<div class="empty"><b>{title}</b>{text}</div>'
