"""Containers of pictures, judged by structure and header before anything is decoded."""
