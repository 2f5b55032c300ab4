"""Datasets: features, annotations, and videos made of both.

dataset, layout            a folder of features and annotations
feature_store              features of a dataset, read when they are needed
annotations                ActivityNet-style JSON and lists of classes
annotation_tools           files of Label Studio, ELAN and the VGG Image Annotator
bundle, safe_pickle        the published bundle, read without executing its pickles
video                      one video: features, labels, segments
oddities                   warnings about a dataset
streams                    channels of RGB and flow
inspection                 the report of co2net-data inspect
synthetic                  planted features
synthetic_annotations      planted annotations
synthetic_video            rendered videos, for demonstrations
"""
