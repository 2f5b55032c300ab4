"""co2net-doctor: what this machine can run, and whether it computes correctly.

probe       the machine: files, devices, installed packages; a line of the report
checks      packages, engines, the model
recommend   the fastest file and engine on this CPU, measured
gpu_checks  driver, CUDA, TensorRT, Jetson
selftest    every engine, precision and profile of the machine against shipped results, of the
            models in selftest_models
"""
