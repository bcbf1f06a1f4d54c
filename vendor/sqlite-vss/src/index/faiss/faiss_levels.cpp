// Which of the compiled instruction levels of Faiss a process takes.
#include "index/faiss/faiss_engine.h"
#include "kernels/cpu.h"

#ifdef VSS_FAISS_HAS_AVX2
// The constructors of that level's global objects, which are taken out of those that run when the library is loaded: an
// older processor must not enter them. The linker makes these names of the section's.
using Constructor = void (*)();
extern "C" {
extern const Constructor __start_vss_faiss_avx2_init[];  // NOLINT(bugprone-reserved-identifier)
extern const Constructor __stop_vss_faiss_avx2_init[];   // NOLINT(bugprone-reserved-identifier)
}
#endif

namespace vss {
namespace {

bool takes_avx2() {
#ifdef VSS_FAISS_HAS_AVX2
    return simd_level() == SimdLevel::avx2 || simd_level() == SimdLevel::avx512;
#else
    return false;
#endif
}

const FaissLevel& pick() {
#ifdef VSS_FAISS_HAS_AVX2
    if (takes_avx2()) {
        for (const Constructor* at = __start_vss_faiss_avx2_init; at != __stop_vss_faiss_avx2_init; ++at) {
            (*at)();
        }
        return vss_faiss_avx2;
    }
#endif
    return vss_faiss_baseline;
}

const FaissLevel& picked() {
    static const FaissLevel& level = pick();
    return level;
}

}  // namespace

FaissEngine::~FaissEngine() = default;

Status FaissEngine::make(const std::string& factory, std::size_t dim, Metric metric,
                         std::unique_ptr<FaissEngine>& out) {
    return picked().make(factory, dim, metric, out);
}

Status FaissEngine::read(std::span<const std::byte> bytes, std::size_t dim, Metric metric, std::size_t rows,
                         std::unique_ptr<FaissEngine>& out) {
    return picked().read(bytes, dim, metric, rows, out);
}

std::string_view FaissEngine::level() {
    return takes_avx2() ? "avx2" : "baseline";
}

}  // namespace vss
