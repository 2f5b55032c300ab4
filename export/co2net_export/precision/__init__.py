"""fp32, fp16 and int8.

options      which precisions there are, and what each is for
fp16         half precision with fp32 islands
int8         static quantization: Q/DQ
calibration  value ranges of tensors
"""
