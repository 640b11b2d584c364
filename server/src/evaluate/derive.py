"""Derives another form of an ONNX model with onnxruntime's own tools. usage: derive.py FORM FROM TO"""

import sys


def int8(source, target):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Seven bits a weight: with eight, processors without wide sums of bytes clip them.
    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


def fp16(source, target):
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def weights4(source, target):
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True)
    quantizer.process()
    onnx.save(quantizer.model.model, target)


FORMS = {"int8": int8, "fp16": fp16, "weights4": weights4}

if __name__ == "__main__":
    form, source, target = sys.argv[1:]
    try:
        FORMS[form](source, target)
    except ImportError as error:
        sys.exit(f"missing: {error.name}")
