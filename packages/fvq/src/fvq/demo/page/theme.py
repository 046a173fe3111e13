"""How the page looks: gradio's default with the fonts of the system, so that nothing is fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
SANS = ['system-ui', '-apple-system', 'Segoe UI', 'Roboto', 'Helvetica Neue', 'Arial', 'sans-serif']
MONO = ['ui-monospace', 'SFMono-Regular', 'Menlo', 'Consolas', 'monospace']


def theme() -> gr.themes.Base:
    """Gradio's default theme in other fonts and colours."""
    return gr.themes.Default(primary_hue='orange', neutral_hue='slate', font=SANS, font_mono=MONO)
