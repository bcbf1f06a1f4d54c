// Which kernels the encoder may use here: what the processor and the operating system have, no level above the one that
// VSSNATIVE_SIMD names (vss0 knows scalar, avx2, avx512; avx512bf16 and amx are the encoder's own).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "encoder_kernels.h"

namespace vss::embedding {

// How faithful products with weights are: as float32, or of values rounded to bfloat16 where the level has units for
// it.
enum class Precision { float32, bfloat16 };

// Levels that can be used here, the best one last.
[[nodiscard]] std::vector<std::string> encoder_levels();

// The level that takes the least time for products of this precision. It is the best one, but where the processor
// multiplies bfloat16 values more slowly than float32: then bfloat16 is computed as float32, unless VSSNATIVE_SIMD
// names avx512bf16.
[[nodiscard]] std::string fastest_level(Precision precision);

// Names of the models of instructions, which are slow: "pairs model" and "tiles model" run everywhere; "avx512 pairs
// model" and "avx512 tiles model", where the level avx512bf16 is, have AVX-512's kernels for all else, so that they
// give the same bits as the levels avx512bf16 and amx.
[[nodiscard]] std::vector<std::string> encoder_models();

// The kernels of a level or model. Throws std::invalid_argument if there are none of this name here.
[[nodiscard]] const EncoderKernels& encoder_kernels(std::string_view level, Precision precision);

}  // namespace vss::embedding
