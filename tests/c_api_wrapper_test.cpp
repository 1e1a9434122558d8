// SPDX-License-Identifier: Apache-2.0 OR MIT
// Runs c_api_test.c, which is C11.
#include <gtest/gtest.h>

#include "rapt/rapt.h"

extern "C" int rapt_c_api_test(void);

TEST(CApi, WorksFromC) {
  EXPECT_EQ(rapt_c_api_test(), 0) << "the line of c_api_test.c; last sentence: "
                                  << rapt_error_message();
}
