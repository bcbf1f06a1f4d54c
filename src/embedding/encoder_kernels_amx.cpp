#if defined(VSS_HAVE_AMX)

#include "encoder_halves_avx512bf16.h"
//
#include "encoder_kernels_impl.h"
//
#include "encoder_halves_impl.h"
#include "encoder_tiles_impl.h"

namespace vss::embedding {
namespace {

// As ldtilecfg reads it (Intel, Software Developer's Manual, volume 1, chapter 18).
struct alignas(64) TileConfig {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t bytes_of_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// The processor's tiles, this thread's for the object's life.
struct AmxTiles {
    AmxTiles() {
        const TileConfig config;
        _tile_loadconfig(&config);
    }
    ~AmxTiles() { _tile_release(); }
    AmxTiles(const AmxTiles&) = delete;
    AmxTiles& operator=(const AmxTiles&) = delete;

    void zero() {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    // The intrinsics take a tile's number as text. Of rows, each is used once.
    template <int tile>
    void load(const std::uint16_t* from, std::size_t bytes) {
        if constexpr (tile == 4) {
            _tile_stream_loadd(4, from, bytes);
        } else if constexpr (tile == 5) {
            _tile_stream_loadd(5, from, bytes);
        } else if constexpr (tile == 6) {
            _tile_loadd(6, from, bytes);
        } else {
            _tile_loadd(7, from, bytes);
        }
    }
    template <int row, int column>
    void dot() {
        if constexpr (row == 0 && column == 0) {
            _tile_dpbf16ps(0, 4, 6);
        } else if constexpr (row == 0) {
            _tile_dpbf16ps(1, 4, 7);
        } else if constexpr (column == 0) {
            _tile_dpbf16ps(2, 5, 6);
        } else {
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    template <int tile>
    void store(float* to, std::size_t bytes) {
        if constexpr (tile == 0) {
            _tile_stored(0, to, bytes);
        } else if constexpr (tile == 1) {
            _tile_stored(1, to, bytes);
        } else if constexpr (tile == 2) {
            _tile_stored(2, to, bytes);
        } else {
            _tile_stored(3, to, bytes);
        }
    }
};

}  // namespace

const EncoderKernels kEncoderKernelsAmx = kTableOfTiles<AmxTiles, Avx512Halver, 1>;
const EncoderKernels kEncoderKernelsAmxSplit = kTableOfTiles<AmxTiles, Avx512Halver, 2>;

}  // namespace vss::embedding

#endif
