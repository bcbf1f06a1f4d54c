#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
#include <sqlite3.h>

#include "base/status.h"
#include "base/types.h"

using namespace vss;

namespace {

Status third_fails(int& calls) {
    VSS_TRY((++calls, Status::ok()));
    VSS_TRY((++calls, Status::ok()));
    VSS_TRY((++calls, Status::invalid("the third")));
    VSS_TRY((++calls, Status::ok()));
    return Status::ok();
}

}  // namespace

TEST_CASE("each code has its SQLite result code") {
    CHECK(Status::ok().sqlite_code() == SQLITE_OK);
    CHECK(Status().is_ok());
    CHECK(Status::invalid("x").sqlite_code() == SQLITE_ERROR);
    CHECK(Status(Code::unsupported, "x").sqlite_code() == SQLITE_ERROR);
    CHECK(Status(Code::constraint, "x").sqlite_code() == SQLITE_CONSTRAINT);
    CHECK(Status::corrupt("x").sqlite_code() == SQLITE_CORRUPT_VTAB);
    CHECK(Status(Code::io, "x").sqlite_code() == SQLITE_IOERR);
    CHECK(Status(Code::no_memory, "x").sqlite_code() == SQLITE_NOMEM);
    CHECK(Status(Code::too_big, "x").sqlite_code() == SQLITE_TOOBIG);
    CHECK(Status(Code::interrupted, "x").sqlite_code() == SQLITE_INTERRUPT);
    CHECK(Status(Code::internal, "x").sqlite_code() == SQLITE_INTERNAL);
}

TEST_CASE("SQLite's own code is handed back as it came") {
    CHECK(Status(Code::io, "disk full", SQLITE_FULL).sqlite_code() == SQLITE_FULL);
    CHECK(Status(Code::constraint, "x", SQLITE_CONSTRAINT_ROWID).sqlite_code() == SQLITE_CONSTRAINT_ROWID);
}

TEST_CASE("VSS_TRY returns at the first failure") {
    int calls = 0;
    const Status status = third_fails(calls);
    CHECK(calls == 3);
    CHECK(status.code() == Code::invalid);
    CHECK(status.message() == "the third");
}

TEST_CASE("names of types and metrics read back, in any case") {
    for (const ElementType type :
         {ElementType::float32, ElementType::float16, ElementType::bfloat16, ElementType::int8, ElementType::bit}) {
        CHECK(parse_element_type(name_of(type)) == type);
    }
    for (const Metric metric : {Metric::l2, Metric::inner_product, Metric::cosine, Metric::l1, Metric::hamming}) {
        CHECK(parse_metric(name_of(metric)) == metric);
    }
    CHECK(parse_metric("Cosine") == Metric::cosine);
    CHECK(parse_metric("ip") == Metric::inner_product);
    CHECK(parse_metric("L2sq") == Metric::l2);
    CHECK(parse_element_type("F16") == ElementType::float16);
    CHECK_FALSE(parse_metric("").has_value());
    CHECK_FALSE(parse_metric("l2 ").has_value());
    CHECK_FALSE(parse_metric("l3").has_value());
    CHECK_FALSE(parse_metric("manhattan").has_value());
    CHECK_FALSE(parse_element_type("float64").has_value());
}

TEST_CASE("bytes of a vector") {
    CHECK(vector_bytes(ElementType::float32, 3) == 12);
    CHECK(vector_bytes(ElementType::bfloat16, 3) == 6);
    CHECK(vector_bytes(ElementType::int8, 3) == 3);
    CHECK(vector_bytes(ElementType::bit, 0) == 0);
    CHECK(vector_bytes(ElementType::bit, 8) == 1);
    CHECK(vector_bytes(ElementType::bit, 9) == 2);
}
