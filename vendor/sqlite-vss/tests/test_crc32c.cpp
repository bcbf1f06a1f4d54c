#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <vector>

#include "kernels/crc32c.h"
#include "kernels/kernels.h"

using namespace vss;

namespace {

// The definition, bit by bit.
std::uint32_t reference(const std::vector<std::byte>& bytes) {
    std::uint32_t state = 0xFFFFFFFF;
    for (const std::byte byte : bytes) {
        state ^= static_cast<std::uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit) {
            state = (state >> 1) ^ ((state & 1U) != 0 ? 0x82F63B78U : 0U);
        }
    }
    return ~state;
}

std::vector<std::byte> random_bytes(std::size_t n) {
    std::mt19937 random(static_cast<unsigned>(n));
    std::vector<std::byte> bytes(n);
    for (std::byte& byte : bytes) {
        byte = static_cast<std::byte>(random());
    }
    return bytes;
}

}  // namespace

TEST_CASE("the vectors of RFC 3720, appendix B.4") {
    std::vector<std::byte> bytes(32);
    CHECK(crc32c(0, bytes.data(), bytes.size()) == 0x8A9136AA);
    std::fill(bytes.begin(), bytes.end(), std::byte{0xFF});
    CHECK(crc32c(0, bytes.data(), bytes.size()) == 0x62A8AB43);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(i);
    }
    CHECK(crc32c(0, bytes.data(), bytes.size()) == 0x46DD794E);
    CHECK(crc32c(0, "123456789", 9) == 0xE3069283);
}

TEST_CASE("every implementation follows the definition, at any length and address") {
    for (std::size_t n = 0; n < 1700; n += n < 80 ? 1 : 13) {
        const std::vector<std::byte> bytes = random_bytes(n);
        const std::uint32_t expected = reference(bytes);
        CAPTURE(n);
        CHECK(crc32c(0, bytes.data(), n) == expected);
        CHECK(~crc32c_portable(0xFFFFFFFF, bytes.data(), n) == expected);
        std::vector<std::byte> shifted(n + 1);
        std::copy(bytes.begin(), bytes.end(), shifted.begin() + 1);
        CHECK(crc32c(0, shifted.data() + 1, n) == expected);
    }
}

TEST_CASE("parts chain to the whole") {
    const std::vector<std::byte> bytes = random_bytes(3000);
    const std::uint32_t whole = crc32c(0, bytes.data(), bytes.size());
    for (const std::size_t cut : {0U, 1U, 7U, 8U, 16U, 768U, 1000U, 2999U, 3000U}) {
        CHECK(crc32c(crc32c(0, bytes.data(), cut), bytes.data() + cut, bytes.size() - cut) == whole);
    }
}
