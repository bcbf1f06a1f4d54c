// Column specifications: the lines of the input are the arguments of `create virtual table t using vss0(...)`.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "storage/schema.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::vector<std::string> lines(1);
    for (std::size_t i = 0; i < size; ++i) {
        const char c = static_cast<char>(data[i]);
        if (c == '\n') {
            lines.emplace_back();
        } else if (c != '\0') {
            lines.back() += c;
        }
    }
    std::vector<const char*> arguments;
    for (const std::string& line : lines) {
        arguments.push_back(line.c_str());
    }
    vss::Schema schema;
    const vss::Status status = vss::Schema::parse("t", arguments, schema);
    if (!status.is_ok()) {
        if (status.message().empty()) {
            std::abort();  // refused without a word
        }
        return 0;
    }
    // What was accepted makes sense.
    const std::size_t count = schema.columns().size();
    if (schema.vectors().empty() || schema.vectors().size() + schema.values().size() != count) {
        std::abort();
    }
    for (std::size_t i = 0; i < count; ++i) {
        const vss::Column& column = schema.column(i);
        if (column.name.empty() || column.is_vector() != schema.vector_index(i).has_value() ||
            (column.is_vector() && (column.dim == 0 || column.bytes() == 0))) {
            std::abort();
        }
    }
    if (schema.declaration().find("hidden") == std::string::npos) {
        std::abort();
    }
    return 0;
}
