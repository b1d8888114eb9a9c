Feature: Settlement

  @TC1051
  Scenario: TC1051 a day is settled
    Given 3 captured payments of 10 EUR
    Then the settlement is 30 EUR

  Scenario Outline: fees of <scheme>
    Given 1 captured payments of 100 EUR
    Then the fee for <scheme> is <fee> cents

    Examples: cards
      | scheme | fee |
      | visa   | 90  |
      | amex   | 180 |

  Scenario: TC1052 a refund lowers the settlement
    Given 2 captured payments of 10 EUR
    Then the settlement is 10 EUR

  @skip
  Scenario: TC1053 two currencies
    Given 1 captured payments of 10 USD

  Scenario: holidays
    Given a bank holiday
    Then the settlement is 0 EUR

  Scenario: the ledger is down
    Given a ledger that is down
