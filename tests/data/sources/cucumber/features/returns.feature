@returns
Feature: Returns
  Rule: Goods may be sent back for 14 days

    @TC1076
    Scenario: TC1076 a fresh order is taken back
      Given an order that is 3 days old
      Then the return is "accepted"

    Scenario Outline: an order of <days> days
      Given an order that is <days> days old
      Then the return is "<answer>"

      Examples:
        | days | answer   |
        | 14   | accepted |
        | 15   | refused  |
        | 90   | accepted |

    Scenario: a label is printed
      Given an order that is 1 days old
      Then a label is printed

    @skip
    Scenario: TC1077 the courier is called
      Given the courier is not available
