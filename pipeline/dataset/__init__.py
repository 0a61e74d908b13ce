"""The dataset folder: layout, import, synthetic radiographs, reading one radiograph."""
