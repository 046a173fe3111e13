"""The demo page. The files here compute what it shows, of arrays and without gradio; `page` has the page itself."""
