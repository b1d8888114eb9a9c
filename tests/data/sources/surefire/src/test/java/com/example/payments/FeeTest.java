package com.example.payments;

import static org.junit.Assert.*;
import java.util.*;
import org.junit.*;
import org.junit.runner.RunWith;
import org.junit.runners.Parameterized;

@RunWith(Parameterized.class)
public class FeeTest {
    @Parameterized.Parameters(name = "{0}, {1} EUR")
    public static Collection<Object[]> data() {
        return Arrays.asList(new Object[][] {{"visa", 10}, {"amex", 10}, {"sepa", 1}});
    }
    @Parameterized.Parameter(0) public String scheme;
    @Parameterized.Parameter(1) public int amount;

    @Test public void feeIsPositive() { assertTrue(scheme.length() * amount > 0); }
    @Test public void feeIsBelowTwoPercent() { assertNotEquals("amex", scheme); }
}
