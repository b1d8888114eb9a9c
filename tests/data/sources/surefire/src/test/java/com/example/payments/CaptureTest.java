package com.example.payments;

import static org.junit.Assert.*;
import org.junit.*;

/** Run with rerunFailingTestsCount=2. */
public class CaptureTest {
    private static int gateway, acquirer;

    @Test public void captureIsIdempotent_TC1033() { assertEquals(1990, 1990); }

    @Test public void gatewayAnswers_TC1034() {
        // Fails once: <flakyFailure>, the test counts as passed.
        System.out.println("gateway attempt " + (gateway + 1));
        assertTrue("gateway did not answer within 2 s", ++gateway > 1);
    }

    @Test public void acquirerLogin() {
        // An exception twice, then a pass: two <flakyError>.
        if (++acquirer < 3) throw new IllegalStateException("acquirer: session " + acquirer + " expired");
    }

    @Test public void refundIsBooked_TC1035() { assertEquals("refund of pay_7", 1990, 990); }

    @Test public void ledgerIsReachable_TC1036() { throw new IllegalArgumentException("jdbc url <none> & no default"); }

    @Ignore("PAY-88: the sandbox is down") @Test public void chargeback_TC1037() { }
}
