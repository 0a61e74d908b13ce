"""The physics and anatomy of a synthetic frontal chest radiograph.

patient.py     proportions of one patient, and the curves organs are made of
skeleton.py    spine, ribs, shoulder girdle
anatomy.py     lungs and soft organs; the whole chest as outlines
pathology.py   the opacities of each class
projection.py  outlines to radiograph and mask
"""
