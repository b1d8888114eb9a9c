// Unit tests of the sensor driver: firmware, host build.
#include <gtest/gtest.h>
#include <string>

static int to_celsius(int raw) { return raw / 16; }

TEST(SensorTest, ReadsZero_TC1081) { EXPECT_EQ(0, to_celsius(0)); }
TEST(SensorTest, ReadsMaximum_TC1082) {
  RecordProperty("rally_id", "TC1082");
  EXPECT_EQ(255, to_celsius(4095));
}
TEST(SensorTest, ReadsNegative) {
  // Two failures in one test: gtest writes two <failure> elements.
  EXPECT_EQ(-1, to_celsius(-1)) << "rounding of \"raw\" < 0";
  EXPECT_EQ(-2, to_celsius(-20)) << "the sensor said \x1b[31m-20\x1b[0m";
}
TEST(SensorTest, DISABLED_SelfTest_TC1083) { FAIL(); }
TEST(SensorTest, NeedsBoard) { GTEST_SKIP() << "no board on this runner"; }

class BaudRate : public ::testing::TestWithParam<int> {};
TEST_P(BaudRate, IsSupported) { EXPECT_NE(0, GetParam() % 7); }
INSTANTIATE_TEST_SUITE_P(Uart, BaudRate, ::testing::Values(9600, 57600, 115200));

template <class T> class Ring : public ::testing::Test {};
using Types = ::testing::Types<char, long>;
TYPED_TEST_SUITE(Ring, Types);
TYPED_TEST(Ring, StartsEmpty) { EXPECT_EQ(0u, std::basic_string<TypeParam>().size()); }
