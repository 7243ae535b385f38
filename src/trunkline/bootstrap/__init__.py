"""The only place that knows everything: it reads settings and files, picks an engine, and hands it the map."""
